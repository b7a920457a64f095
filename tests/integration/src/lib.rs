//! seawall-integration
