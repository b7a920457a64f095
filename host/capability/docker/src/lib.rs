//! seawall-docker
