//! seawall

fn main() {}
