//! Compiles the `.proto` files, in Rust from end to end: no protoc is needed.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

const CLIENT_FILES: [&str; 3] = ["kv.proto", "storage.proto", "cluster.proto"];
const PEER_FILE: &str = "peer.proto";

#[allow(clippy::disallowed_methods, reason = "a build script writes where cargo says")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let serves = std::env::var_os("CARGO_FEATURE_SERVER").is_some();
    let peer = serves.then_some(PEER_FILE);
    let files = protox::compile(CLIENT_FILES.into_iter().chain(peer), ["proto"])?;
    // Keys and values are slices of the received frame, not copies of it.
    let messages = tonic_prost_build::configure().bytes(".").build_server(false);
    messages.compile_fds(files.clone())?;
    if !serves {
        return Ok(());
    }
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;
    // The services of a node read requests in a way of their own; messages are those above.
    let servers = out.join("servers");
    std::fs::create_dir_all(&servers)?;
    tonic_prost_build::configure()
        .build_client(false)
        .codec_path("crate::codec::ServerCodec")
        .extern_path(".lsm.v1", "crate::v1")
        .extern_path(".lsm.peer.v1", "crate::peer")
        .out_dir(servers)
        .compile_fds(files)?;
    Ok(())
}
