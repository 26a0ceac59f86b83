//! Loaded into a process before the C library (LD_PRELOAD): `fsync` and `fdatasync` that read from the
//! file in `TOWPATH_TEST_DISK` how they are to behave, each time. The orders are `delay` with
//! milliseconds, and `fail`; anything else means that they just flush.

#![allow(
    unsafe_code,
    reason = "functions that take the place of the C library's"
)]

use std::ffi::{c_int, c_long};
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

/// `fdatasync` of the C library.
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(fd: c_int) -> c_int {
    flush(libc::SYS_fdatasync, fd)
}

/// `fsync` of the C library.
#[unsafe(no_mangle)]
pub extern "C" fn fsync(fd: c_int) -> c_int {
    flush(libc::SYS_fsync, fd)
}

fn flush(call: c_long, fd: c_int) -> c_int {
    static ORDERS: OnceLock<Option<PathBuf>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| std::env::var_os("TOWPATH_TEST_DISK").map(PathBuf::from));
    let order = orders
        .as_ref()
        .and_then(|file| fs::read_to_string(file).ok());
    let order = order.unwrap_or_default();
    if order == "fail" {
        // SAFETY: it's the address of this thread's errno, which is valid as long as the thread is.
        unsafe { *libc::__errno_location() = libc::EIO };
        return -1;
    }
    if let Some(Ok(ms)) = order.strip_prefix("delay ").map(str::parse) {
        std::thread::sleep(Duration::from_millis(ms));
    }
    // SAFETY: the call takes a file descriptor and touches no memory; it sets errno where it fails.
    let result = unsafe { libc::syscall(call, fd) };
    c_int::try_from(result).unwrap_or(-1)
}
