//! Called by `cargo xtask drill`, with what was asked for as one JSON document. Says how far it is on standard error,
//! prints a table or a JSON document, and fails if any drill did.

use std::process::ExitCode;

use anyhow::{Context, Result};
use seawall_drills::{Drill, Options, Report, run};
use seawall_testing::interrupt::Interrupt;

fn main() -> Result<ExitCode> {
    let asked = std::env::args().nth(1).context("say what to drill: `cargo xtask drill` does")?;
    let options: Options = serde_json::from_str(&asked).with_context(|| format!("{asked:?} is no list of drills"))?;
    // Whoever asks to end does so between two steps: everything that was made is taken down as after a good end.
    let interrupt = Interrupt::watch()?;
    let drills = if options.drills.is_empty() { Drill::ALL.to_vec() } else { options.drills };
    let mut reports: Vec<Report> = Vec::new();
    for drill in drills {
        if interrupt.check().is_ok() {
            reports.push(run(drill, options.full, options.seed, &interrupt));
        }
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else {
        println!("\n{}", Report::head());
        for report in &reports {
            println!("{report}");
        }
    }
    for failed in reports.iter().filter(|report| !report.passed()) {
        let full = if failed.full { " --full" } else { "" };
        eprintln!("again: cargo xtask drill {} --seed {}{full}", failed.drill.name(), failed.seed);
    }
    let passed = reports.iter().all(Report::passed) && interrupt.check().is_ok();
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
