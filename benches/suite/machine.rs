//! What the figures depend on besides the code.

use std::fs;
use std::time::SystemTime;

use serde::Serialize;

/// The machine, as it was before anything was started.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    /// The load average of the last minute, if the system tells.
    pub(crate) load_before: Option<String>,
    /// UTC, to the second.
    pub(crate) date: String,
}

impl Machine {
    pub(crate) fn look() -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: processor().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            load_before: load(),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        }
    }
}

/// The load average of the last minute.
pub(crate) fn load() -> Option<String> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next().map(str::to_owned)
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}
