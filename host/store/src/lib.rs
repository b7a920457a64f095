//! seawall-store
