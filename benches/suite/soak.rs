//! Many requests of many tenants while everything that can go wrong does: connections are killed, clients leave, the
//! configuration is read again, tables change. No answer may hold a row of another tenant, or run as somebody else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Result;
use crate::load;
use crate::load::Client;
use crate::options::Scale;
use crate::processes::Server;
use crate::report::{Report, thousands};
use crate::street::{Setup, Street, Tenant};
use crate::traffic::{Chance, Dialect, Exchange, Traffic};

/// So many `requests`, half of them of tenants that share connections for short reads; an error if one answer was wrong, or if
/// there ever were more connections than the budget.
pub(crate) async fn run(street: &Street, scale: &Scale, requests: u64, report: &Report) -> Result<()> {
    for shared_reads in [true, false] {
        let setup = Setup {
            budget: BUDGET,
            shared_reads,
        };
        soak(street, scale, setup, requests.div_ceil(2), report).await?;
    }
    Ok(())
}

async fn soak(street: &Street, scale: &Scale, setup: Setup, requests: u64, report: &Report) -> Result<()> {
    let tenants = street.tenants(scale.soaked);
    let edge = street.edge(tenants.len(), setup).await?;
    street.seal_letters().await?;
    let traffic = Arc::new(traffic(tenants));
    let begun = Instant::now();
    let mut done = 0;
    let mut refused: BTreeMap<u16, u64> = BTreeMap::new();
    let mut wrong = 0;
    let asking = async {
        while done < requests {
            let tally = load::drive(edge.address(), &traffic, CLIENTS, ROUND, Duration::ZERO).await?;
            done += tally.answered + tally.refused.values().sum::<u64>();
            wrong += tally.wrong;
            report.say(&format!("{} of {}", thousands(done as f64), thousands(requests as f64)))?;
            for (status, count) in tally.refused {
                *refused.entry(status).or_default() += count;
            }
        }
        Ok::<_, crate::Error>(())
    };
    let most = tokio::select! {
        asked = asking => asked.map(|()| None)?,
        trouble = trouble(street, &edge, tenants) => Some(trouble?),
    };
    if let Some(most) = most {
        return Err(format!("{most} connections on a budget of {BUDGET}").into());
    }
    let forbidden = refused.remove(&401).unwrap_or(0);
    report.say(&format!(
        "soak: {} requests of {} tenants, {}, in {:.0?}: {wrong} wrong answers, {} refused as they should be, others {refused:?}",
        thousands(done as f64),
        tenants.len(),
        if setup.shared_reads { "shared reads" } else { "a login each" },
        begun.elapsed(),
        thousands(forbidden as f64),
    ))?;
    match wrong {
        0 => Ok(()),
        wrong => Err(format!("{wrong} answers were another's").into()),
    }
}

/// Reads with and without a token, writes, functions that tell as whom they run, and letters that are not for all.
fn traffic(tenants: &[Tenant]) -> Traffic {
    let mut chance = Chance::new();
    let mut exchange = || {
        let tenant = &tenants[(chance.next() * tenants.len() as f64) as usize];
        let key = 1 + (chance.next() * 50.0) as usize;
        let token = chance.next() < 0.4;
        let dialect = Dialect::Rowhouse { token };
        match (chance.next() * 100.0) as u32 {
            0..50 => Exchange::by_key(tenant, key, dialect),
            50..60 => Exchange::list(tenant, 50, dialect),
            60..75 => Exchange::letter(tenant, token),
            75..90 => Exchange::whoami(tenant, token),
            90..92 => Exchange::wait(tenant, 20, false),
            _ => Exchange::insert(tenant, dialect),
        }
    };
    Traffic::new((0..50_000).map(|_| exchange()).collect())
}

/// All kinds of trouble, until there are more connections than the budget: then how many.
async fn trouble(street: &Street, edge: &Server, tenants: &[Tenant]) -> Result<u64> {
    let kill = async {
        loop {
            sleep(Duration::from_millis(150)).await;
            street.kill_one().await?;
        }
    };
    let leave = async {
        let mut turns = tenants.iter().cycle();
        loop {
            sleep(Duration::from_millis(50)).await;
            let tenant = turns.next().ok_or("no tenants")?;
            let mut client = Client::connect(edge.address()).await?;
            client.leave(&Exchange::wait(tenant, 10, false)).await?;
        }
    };
    let reload = async {
        loop {
            sleep(Duration::from_secs(1)).await;
            edge.reload()?;
        }
    };
    let change = async {
        let mut n = 0;
        loop {
            sleep(Duration::from_millis(400)).await;
            street.change(&tenants[n * 7 % tenants.len()], n).await?;
            n += 1;
        }
    };
    let watch = async {
        loop {
            sleep(Duration::from_millis(20)).await;
            // One more listens to notifications.
            match street.backends("rowhouse").await? {
                held if held <= u64::from(BUDGET) + 1 => {}
                held => return Ok(held),
            }
        }
    };
    tokio::select! {
        ended = kill => ended,
        ended = leave => ended,
        ended = reload => ended,
        ended = change => ended,
        held = watch => held,
    }
}

/// Hardly more connections than tenants.
const BUDGET: u32 = 220;

const CLIENTS: usize = 96;

/// The clock of the load is looked at after so long.
const ROUND: Duration = Duration::from_secs(5);
