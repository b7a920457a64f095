//! seawall-runtime
