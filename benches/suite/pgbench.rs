//! The limit: what Postgres does with the same statements when nothing stands before it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::Result;
use crate::load::Tally;
use crate::statements;
use crate::statements::ROWS;
use crate::street::Street;
use crate::traffic::Work;

/// Connections, as many as a tenant of the edge has at most by default.
pub(crate) const CLIENTS: u64 = 8;

/// `pgbench` with one script, on the first tenant's tables.
#[derive(Clone, Debug)]
pub(crate) struct Pgbench {
    program: PathBuf,
    socket_dir: PathBuf,
    port: u16,
    schema: String,
    script: PathBuf,
    /// Where it leaves latencies.
    log: PathBuf,
}

impl Pgbench {
    /// `None` if there is none beside the server's programs, or none of its statements is `work`.
    pub(crate) fn find(street: &Street, work: Work) -> Result<Option<Self>> {
        let (setting, sql) = match work {
            Work::ByKey => (
                format!("\\set key random(1, {ROWS})\n\\set rows 1000"),
                statements::BY_KEY.replace("$1", ":key").replace("$2", ":rows"),
            ),
            Work::Fifty => (format!("\\set rows {ROWS}"), statements::LIST.replace("$1", ":rows")),
            Work::Thousand | Work::Mixed => return Ok(None),
        };
        let postgres = street.postgres();
        // The server's own program, whichever way it was found.
        let server = fs::read_link(format!("/proc/{}/exe", postgres.pid()));
        let program = server
            .map(|server| server.with_file_name("pgbench"))
            .unwrap_or_default();
        if !program.exists() {
            return Ok(None);
        }
        let script = street.dir().join(format!("{work:?}.sql"));
        fs::write(&script, format!("{setting}\n{sql};\n"))?;
        Ok(Some(Self {
            program,
            socket_dir: postgres.socket_dir().to_owned(),
            port: postgres.port(),
            schema: street.tenants(1)[0].name.clone(),
            script,
            log: street.dir().join("latencies"),
        }))
    }

    /// One run. It counts in whole seconds.
    pub(crate) async fn run(&self, time: Duration) -> Result<Tally> {
        let seconds = time.as_secs_f64().ceil();
        let mut command = Command::new(&self.program);
        command.args([
            "-n",
            "-M",
            "prepared",
            "-c",
            &CLIENTS.to_string(),
            "-U",
            "postgres",
            "-h",
        ]);
        command.arg(&self.socket_dir).args(["-p", &self.port.to_string()]);
        command.args(["-T", &seconds.to_string(), "-l", "--sampling-rate=0.2", "--log-prefix"]);
        command.arg(&self.log).arg("-f").arg(&self.script);
        command.arg(rowhouse::migrate::EMBEDDED_DATABASE);
        command.env("PGOPTIONS", format!("-c search_path={}", self.schema));
        command.env("PGAPPNAME", "pgbench").env("LC_ALL", "C");
        let output = spawn_blocking(move || command.output()).await??;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(format!("pgbench: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let found = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
        let answered = found("number of transactions actually processed: ").ok_or("pgbench counts nothing")?;
        let per_second = found("tps = ").and_then(|rest| rest.split(' ').next());
        let per_second: f64 = per_second.ok_or("pgbench tells no speed")?.parse()?;
        let mut tally = Tally::new()?;
        tally.answered = answered.trim().parse()?;
        // Without the time it takes to connect.
        tally.elapsed = Duration::from_secs_f64(tally.answered as f64 / per_second);
        self.collect(&mut tally)?;
        Ok(tally)
    }

    /// Lines of `client transaction microseconds …`, in files that are named after the process.
    fn collect(&self, tally: &mut Tally) -> Result<()> {
        for entry in fs::read_dir(self.log.parent().ok_or("no directory")?)? {
            let path = entry?.path();
            let ours = path.file_stem() == self.log.file_name();
            if !ours {
                continue;
            }
            for line in fs::read_to_string(&path)?.lines() {
                let latency = line.split(' ').nth(2).ok_or("a line without a latency")?;
                tally.latencies.saturating_record(latency.parse()?);
            }
            fs::remove_file(path)?;
        }
        Ok(())
    }
}
