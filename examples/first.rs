//! The first program: open, write, get, prefix, range, delete.
//!
//! `cargo run --release --example first -- FOLDER`; without a folder, in `first-data`.

use std::io::Write;

use lsm_core::Db;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or("first-data".into());
    let db = Db::open(folder)?; // creates the folder if there is none
    let mut out = std::io::stdout();

    db.put("planet/earth", "one moon")?;
    db.put("planet/mars", "two moons")?;
    db.put("star/sun", "no moons")?;
    writeln!(out, "earth: {:?}", db.get("planet/earth")?)?;

    for entry in db.prefix("planet/") {
        let (key, value) = entry?;
        writeln!(out, "{} has {}", key.escape_ascii(), value.escape_ascii())?;
    }
    for entry in db.range("planet/mars"..) {
        writeln!(out, "from mars on: {}", entry?.0.escape_ascii())?;
    }

    db.delete("planet/mars")?;
    writeln!(out, "mars: {:?}", db.get("planet/mars")?)?;
    Ok(db.close()?)
}
