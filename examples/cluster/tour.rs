//! A tour of the cluster with the Rust client:
//! `cargo run --release -p lsm-client --example tour -- 127.0.0.1:4001`.

use std::io::Write;

use lsm_client::{Batch, Client, Scan};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout();
    let mut nodes: Vec<String> = std::env::args().skip(1).collect();
    if nodes.is_empty() {
        // One is enough to learn of the others; more are for the day when it is down.
        nodes = vec!["127.0.0.1:4001".into(), "127.0.0.1:4002".into()];
    }
    let client = Client::connect(nodes).await?;

    // Returns once three of five nodes have it on disk.
    client.put("planet/earth", "one moon").await?;
    let mut batch = Batch::new();
    batch.put("planet/mars", "two moons").put("star/sun", "no moons");
    client.write(&batch).await?;

    let moons = client.get("planet/earth").await?;
    writeln!(out, "earth: {}", moons.as_deref().unwrap_or(b"unknown").escape_ascii())?;

    let mut planets = client.scan(Scan::prefix("planet/"));
    while let Some(entry) = planets.next().await? {
        writeln!(out, "{} has {}", entry.key.escape_ascii(), entry.value.escape_ascii())?;
    }
    client.delete("planet/mars").await?;
    writeln!(out, "mars: {:?}", client.get("planet/mars").await?)?;
    Ok(())
}
