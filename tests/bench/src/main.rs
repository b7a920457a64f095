//! seawall-bench

fn main() {}
