//! Structured logs: one line per event on standard error, constant text with fields.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line, for programs.
    Json,
}

/// Starts logging. What is logged: `ROWHOUSE_LOG` in the syntax of `tracing`'s filters, or `default`.
///
/// Does nothing if something logs already, as in tests.
pub fn start(format: Format, default: &str) {
    let filter = EnvFilter::try_from_env("ROWHOUSE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let terminal = std::io::stderr().is_terminal();
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal);
    let started = match format {
        Format::Text => builder.with_target(false).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    drop(started);
}
