//! The first program: open, put, get, scan, delete.
//!
//! `cargo run --example first -- FOLDER`; without a folder, in `first-data`.

use lsm_core::Db;

fn main() -> lsm_core::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or("first-data".into());
    let db = Db::open(folder)?; // makes the folder if there is none

    db.put("planet/earth", "one moon")?;
    db.put("planet/mars", "two moons")?;
    db.put("star/sun", "no moons")?;
    println!("earth: {:?}", db.get("planet/earth")?);

    for entry in db.prefix("planet/") {
        let (key, value) = entry?;
        println!("{} has {}", key.escape_ascii(), value.escape_ascii());
    }
    db.delete("planet/mars")?;
    println!("mars: {:?}", db.get("planet/mars")?);
    db.close()
}
