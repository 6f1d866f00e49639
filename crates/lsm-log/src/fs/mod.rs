//! For tests and other places to store: the file system as an argument.
//!
//! The engine reaches files only through [`Fs`]. [`OsFs`] is the operating system, [`MemFs`]
//! keeps everything in memory. With the `testkit` feature come `CrashFs`, which keeps synced
//! and unsynced state apart and makes crash images, and `FaultFs`, which fails on purpose.
//!
//! `std::fs` appears in this folder only; what only Linux has stands in `linux.rs`.

#[cfg(all(test, feature = "testkit"))]
mod contract_test;
#[cfg(feature = "testkit")]
mod crash;
#[cfg(feature = "testkit")]
mod crash_content;
#[cfg(feature = "testkit")]
mod fault;
#[cfg(feature = "testkit")]
mod fault_plan;
#[cfg_attr(not(target_os = "linux"), path = "portable.rs")]
mod linux;
mod mem;
mod names;
mod os;
mod replace;
mod traits;

#[cfg(feature = "testkit")]
pub use crash::{CrashFs, CrashImage};
#[cfg(feature = "testkit")]
pub use fault::{FaultFs, corrupt, truncate};
#[cfg(feature = "testkit")]
pub use fault_plan::{Fault, Op};
pub use linux::ProcessMark;
pub use mem::MemFs;
pub use os::OsFs;
pub use replace::{open_folder, remove_left_over, replace_file, switch_file, write_new_file};
pub use traits::{Access, Folder, Fs, Lock, LockMode, Mapping, ReadFile, Space, WriteFile};
