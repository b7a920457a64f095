//! seawall-xtask

fn main() {}
