//! seawall-supervisor
