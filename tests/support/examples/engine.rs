//! A private Docker Engine to play with: prints its address and lives until its standard input ends.

use std::io::Read;

use anyhow::Result;
use seawall_testing::docker::Engine;

fn main() -> Result<()> {
    let engine = Engine::start()?;
    // The one line of output, for `export DOCKER_HOST=...`.
    std::io::Write::write_all(&mut std::io::stdout(), format!("{}\n", engine.host()).as_bytes())?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
