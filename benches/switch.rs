//! The cost of switching tenants.

fn main() {}
