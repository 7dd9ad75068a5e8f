//! Responses: rows, pages and problems become HTTP here.

mod page;
mod problem;
mod rows;

pub use page::{html, stylesheet};
pub use problem::Problem;
pub use rows::{Written, read, written};
