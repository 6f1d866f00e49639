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
    let messages = tonic_prost_build::configure().bytes(".").build_server(false);
    messages.compile_fds(files.clone())?;
    // The services of a node read requests in a way of their own; messages are those above.
    let servers = out.join("servers");
    #[allow(clippy::disallowed_methods, reason = "a build script writes where cargo says")]
    std::fs::create_dir_all(&servers)?;
    tonic_prost_build::configure()
        .build_client(false)
        .codec_path("crate::codec::ServerCodec")
        .extern_path(".lsm.v1", "crate::proto::v1")
        .extern_path(".lsm.peer.v1", "crate::proto::peer")
        .out_dir(servers)
        .compile_fds(files)?;
    Ok(())
}
