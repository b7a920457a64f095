//! seawall-control
