//! Random bytes from the platform's secure source (`wasi:random` under Spin).

/// `N` random bytes.
///
/// # Errors
/// [`getrandom::Error`] if there is no such source, which WASI always has.
pub fn bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
