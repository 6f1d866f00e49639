//! Compiles the `.proto` files, in Rust from end to end: no protoc is needed.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

const FILES: [&str; 4] = ["kv.proto", "storage.proto", "cluster.proto", "peer.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    #[allow(clippy::disallowed_methods, reason = "a build script writes where cargo says")]
    std::fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;
    // Keys and values are slices of the received frame, not copies of it.
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
