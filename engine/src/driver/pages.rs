//! How the kernel backs this process's memory.

use rustix::thread::disable_transparent_huge_pages;

/// Asks for pages of the ordinary size.
///
/// Batch buffers and connections come and go by kilobytes. Huge pages, which the allocator asks for, back and clear two
/// megabytes where a few kilobytes are touched: an idle connection then costs twice the memory, by chance, and the first
/// batches cost more in clearing than in filling. A kernel that cannot is left as it is.
pub fn ordinary() {
    if let Err(error) = disable_transparent_huge_pages(true) {
        tracing::debug!("huge pages stay on: {error}");
    }
}
