//! seawall-process
