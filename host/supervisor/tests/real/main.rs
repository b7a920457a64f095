//! Real processes under real supervisors, driven as the daemon drives them.

#![cfg(test)]

mod attach;
mod bench;
mod child;
mod exec;
mod hostile;
mod keyboard;
mod life;
mod logs;
mod older;
mod refusals;
mod tree;
