//! The sets of cells: the same work, done each way in turns, so that what else the machine does meets all of them alike.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::Result;
use crate::baseline;
use crate::baseline::Kind;
use crate::edges;
use crate::edges::Edges;
use crate::load;
use crate::load::Tally;
use crate::options::Scale;
use crate::pgbench;
use crate::pgbench::Pgbench;
use crate::processes::{Cpu, Server};
use crate::report::{Report, thousands};
use crate::results::Cell;
use crate::street::{BUDGET, Setup, Street, TIGHT_BUDGET, Tenant};
use crate::traffic::{Dialect, Order, Traffic, Work};

use Order::{RoundRobin, Zipf};
use Size::{Few, Many, One};
use Way::{
    Hello, JsonAgg, Pgbench as Limit, Rowhouse, RowhouseShared, RowhouseTight, RowhouseToken, SetPath, SetTogether,
};
use Work::{ByKey, Fifty, Mixed, Thousand};

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Way {
    Rowhouse,
    /// With a token in every request: its role and claims are set for it.
    RowhouseToken,
    /// With hardly more connections than tenants.
    RowhouseTight,
    /// With connections that tenants share for short reads.
    RowhouseShared,
    /// One pool for all, `SET search_path` before each statement.
    SetPath,
    /// The same, both sent together.
    SetTogether,
    /// JSON made in Postgres, over a pool for each tenant.
    JsonAgg,
    /// No HTTP.
    Pgbench,
    /// No Postgres.
    Hello,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rowhouse | Self::RowhouseTight => "rowhouse",
            Self::RowhouseToken => "rowhouse, token",
            Self::RowhouseShared => "rowhouse, shared reads",
            Self::SetPath => "SET search_path",
            Self::SetTogether => "SET, sent together",
            Self::JsonAgg => "json_agg",
            Self::Pgbench => "pgbench -c 8",
            Self::Hello => "hello world",
        }
    }

    /// What its connections call themselves, or begin with.
    fn application(self) -> &'static str {
        match self {
            Self::Rowhouse | Self::RowhouseToken | Self::RowhouseTight | Self::RowhouseShared => "rowhouse",
            Self::SetPath => "baseline set",
            Self::SetTogether => "baseline together",
            Self::JsonAgg => "baseline own",
            Self::Pgbench => "pgbench",
            Self::Hello => "baseline hello",
        }
    }
}

/// How many tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    One,
    Few,
    Many,
}

/// What is compared with each other.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) work: Work,
    size: Size,
    pub(crate) order: Order,
    ways: &'static [Way],
}

/// Those with the same tenants and setup follow each other: they share an edge.
pub(crate) const SETS: [Set; 16] = [
    set(
        ByKey,
        One,
        RoundRobin,
        &[Rowhouse, RowhouseToken, Limit, SetPath, Hello],
    ),
    set(Fifty, One, RoundRobin, &[Rowhouse, Limit, JsonAgg, SetPath]),
    set(Thousand, One, RoundRobin, &[Rowhouse, JsonAgg, SetPath]),
    set(Mixed, One, RoundRobin, &[Rowhouse, RowhouseToken, SetPath]),
    set(ByKey, Few, RoundRobin, &[Rowhouse, RowhouseToken, SetPath, SetTogether]),
    set(ByKey, Few, Zipf, &[Rowhouse, SetPath]),
    set(Fifty, Few, RoundRobin, &[Rowhouse, JsonAgg, SetPath]),
    set(Thousand, Few, RoundRobin, &[Rowhouse, JsonAgg, SetPath]),
    set(Mixed, Few, RoundRobin, &[Rowhouse, RowhouseToken, SetPath]),
    set(Mixed, Few, Zipf, &[Rowhouse, SetPath]),
    set(ByKey, Few, RoundRobin, &[RowhouseTight, SetPath]),
    set(ByKey, Few, RoundRobin, &[RowhouseShared, SetPath]),
    set(ByKey, Many, RoundRobin, &[Rowhouse, SetPath]),
    set(ByKey, Many, Zipf, &[Rowhouse, RowhouseToken, SetPath]),
    set(Fifty, Many, Zipf, &[Rowhouse, SetPath]),
    set(Mixed, Many, Zipf, &[Rowhouse, RowhouseToken, SetPath]),
];

const fn set(work: Work, size: Size, order: Order, ways: &'static [Way]) -> Set {
    Set {
        work,
        size,
        order,
        ways,
    }
}

impl Set {
    pub(crate) fn name(&self, scale: &Scale) -> String {
        let work = match self.work {
            ByKey => "by key",
            Fifty => "50 rows",
            Thousand => "1,000 rows",
            Mixed => "mixed",
        };
        let order = match self.order {
            RoundRobin => "in turn",
            Zipf => "Zipf",
        };
        let setup = match self.setup() {
            Setup { shared_reads: true, .. } => ", shared reads".to_owned(),
            Setup { budget: BUDGET, .. } => String::new(),
            Setup { budget, .. } => format!(", {budget} connections"),
        };
        match self.tenants(scale) {
            1 => format!("{work}, 1 tenant"),
            tenants => format!("{work}, {} tenants, {order}{setup}", thousands(tenants as f64)),
        }
    }

    /// Whether there are tenants enough for it to be another than the smaller ones.
    pub(crate) fn fits(&self, scale: &Scale) -> bool {
        match self.size {
            One => true,
            Few => scale.few > 1,
            Many => scale.many > scale.few,
        }
    }

    fn setup(&self) -> Setup {
        let tight = self.ways.contains(&RowhouseTight);
        Setup {
            budget: if tight { TIGHT_BUDGET } else { BUDGET },
            shared_reads: self.ways.contains(&RowhouseShared),
        }
    }

    fn tenants(&self, scale: &Scale) -> usize {
        match self.size {
            One => 1,
            Few => scale.few,
            Many => scale.many,
        }
    }
}

/// Measures a set: everything is started and warm first, then all ways have their runs in turns.
pub(crate) async fn measure(
    set: &Set,
    street: &Street,
    edges: &mut Edges,
    scale: &Scale,
    report: &Report,
) -> Result<Vec<Cell>> {
    let tenants = set.tenants(scale);
    let edge = edges.of(street, tenants, set.setup()).await?;
    let mut rivals = Vec::new();
    for &way in set.ways {
        match Rival::start(set, way, street, tenants, scale, &edge).await? {
            Some(rival) => rivals.push(rival),
            None => report.say("skipped pgbench: there is none beside the server's programs")?,
        }
    }
    for rival in &rivals {
        rival.warm(street).await?;
    }
    for _ in 0..scale.runs {
        for rival in &mut rivals {
            rival.run(street).await?;
        }
    }
    let mut cells = Vec::new();
    for rival in &rivals {
        cells.push(rival.cell(set, street, scale).await?);
    }
    drop(rivals);
    street.wait_for_end_of("baseline").await?;
    Ok(cells)
}

/// One way, ready to be measured.
struct Rival {
    way: Way,
    what: What,
    clients: usize,
    time: Duration,
    runs: Vec<(Tally, Cpu)>,
}

enum What {
    Served { server: Arc<Server>, traffic: Arc<Traffic> },
    Alone(Pgbench),
}

impl Rival {
    async fn start(
        set: &Set,
        way: Way,
        street: &Street,
        tenants: usize,
        scale: &Scale,
        edge: &Arc<Server>,
    ) -> Result<Option<Self>> {
        let what = match way {
            Limit => Pgbench::find(street, set.work)?.map(What::Alone),
            _ => Some(What::served(set, way, street.tenants(tenants), street, edge).await?),
        };
        Ok(what.map(|what| Self {
            way,
            what,
            clients: scale.clients,
            time: scale.run,
            runs: Vec::new(),
        }))
    }

    /// All of it runs for a while, until connections are open, statements prepared and plans made.
    async fn warm(&self, street: &Street) -> Result<()> {
        let What::Served { server, traffic } = &self.what else {
            return Ok(());
        };
        let mut open = 0;
        for _ in 0..WARM_UPS {
            let time = self.time.min(WARM_UP);
            load::drive(server.address(), traffic, self.clients, time, Duration::ZERO).await?;
            let before = open;
            open = street.backends(self.way.application()).await?;
            if open <= before + before / 50 {
                break;
            }
        }
        Ok(())
    }

    async fn run(&mut self, street: &Street) -> Result<()> {
        let postmaster = street.postgres().pid();
        let (tally, cpu) = match &self.what {
            What::Served { server, traffic } => {
                let before = Cpu::of(server.pid(), postmaster);
                let tally = load::drive(server.address(), traffic, self.clients, self.time, Duration::ZERO).await?;
                (tally, Cpu::of(server.pid(), postmaster).since(before))
            }
            What::Alone(pgbench) => {
                let before = Cpu::of_children(postmaster);
                let tally = pgbench.run(self.time).await?;
                (tally, Cpu::of_children(postmaster).since(before))
            }
        };
        self.runs.push((tally, cpu));
        Ok(())
    }

    async fn cell(&self, set: &Set, street: &Street, scale: &Scale) -> Result<Cell> {
        let mut cell = Cell::new(set, set.name(scale), set.tenants(scale), self.way, &self.runs);
        match &self.what {
            What::Served { server, .. } => {
                cell.backends = street.backends(self.way.application()).await?;
                cell.memory = server.memory();
            }
            What::Alone(_) => cell.backends = pgbench::CLIENTS,
        }
        Ok(cell)
    }
}

impl What {
    async fn served(set: &Set, way: Way, tenants: &[Tenant], street: &Street, edge: &Arc<Server>) -> Result<Self> {
        let server = match way.kind(tenants.len()) {
            None => Arc::clone(edge),
            Some((kind, connections)) => {
                let server = start_baseline(kind, connections, way.application(), tenants, street).await?;
                if way != Hello {
                    edges::greet(server.address(), tenants, way.dialect()).await?;
                }
                Arc::new(server)
            }
        };
        let traffic = match way {
            Hello => Traffic::hello(),
            _ => Traffic::of(set.work, set.order, tenants, way.dialect()),
        };
        Ok(Self::Served {
            server,
            traffic: Arc::new(traffic),
        })
    }
}

impl Way {
    /// What kind of baseline it is, and with how many connections.
    fn kind(self, tenants: usize) -> Option<(Kind, u32)> {
        match self {
            Rowhouse | RowhouseToken | RowhouseTight | RowhouseShared | Limit => None,
            SetPath => Some((Kind::Set, SHARED_CONNECTIONS)),
            SetTogether => Some((Kind::SetTogether, SHARED_CONNECTIONS)),
            JsonAgg if tenants == 1 => Some((Kind::Own, 8)),
            JsonAgg => Some((Kind::Own, tenants as u32)),
            Hello => Some((Kind::Hello, 0)),
        }
    }

    fn dialect(self) -> Dialect {
        match self {
            Rowhouse | RowhouseTight | RowhouseShared => Dialect::Rowhouse { token: false },
            RowhouseToken => Dialect::Rowhouse { token: true },
            SetPath | SetTogether | Limit | Hello => Dialect::Baseline { json: false },
            JsonAgg => Dialect::Baseline { json: true },
        }
    }
}

/// The server that only says hello.
pub(crate) async fn empty_server(street: &Street) -> Result<Server> {
    start_baseline(Kind::Hello, 0, Hello.application(), &[], street).await
}

async fn start_baseline(
    kind: Kind,
    connections: u32,
    application: &str,
    tenants: &[Tenant],
    street: &Street,
) -> Result<Server> {
    let names: Vec<_> = tenants.iter().map(|tenant| tenant.name.as_str()).collect();
    let mut command = Command::new(std::env::current_exe()?);
    command.args([baseline::COMMAND, "--application", application, "--kind", kind.name()]);
    command.args(["--connections", &connections.to_string(), "--tenants", &names.join(",")]);
    command.args(["--port", &street.postgres().port().to_string(), "--socket-dir"]);
    command.arg(street.postgres().socket_dir());
    Server::start(command).await
}

/// Connections of the pool that all tenants share. Not tuned: other numbers were not tried.
const SHARED_CONNECTIONS: u32 = 16;

/// The longest warm-up, which is repeated for as long as it opens more connections, but no more often than this.
const WARM_UP: Duration = Duration::from_millis(400);
const WARM_UPS: usize = 10;
