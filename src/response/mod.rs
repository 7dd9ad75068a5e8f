//! Responses: rows, pages and problems become HTTP here.

mod cors;
mod page;
mod problem;
mod rows;
mod settings;

pub use cors::{expose, options, preflight};
pub use page::{asset, console, file, html, json};
pub use problem::Problem;
pub use rows::{Action, Data, document};
pub use settings::apply;
