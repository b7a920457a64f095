//! seawall-supervisor

fn main() {}
