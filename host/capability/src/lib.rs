//! seawall-capability
