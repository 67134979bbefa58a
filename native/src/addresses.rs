//! Socket addresses as Python's sockets have them: `(host, port)`, for IPv6 `(host, port, flow, scope)`.

use std::net::{AddrParseError, IpAddr, SocketAddr, SocketAddrV6};

/// Read an IP address, without the zone that some systems append to IPv6 ones.
pub fn parse_ip(host: &str) -> Result<IpAddr, AddrParseError> {
    host.split('%').next().unwrap_or(host).parse()
}

/// Build a socket address. The flow label is left out: it tells nothing about who the peer is.
pub fn socket_address(ip: IpAddr, port: u16, scope: u32) -> SocketAddr {
    match ip {
        IpAddr::V4(_) => SocketAddr::new(ip, port),
        IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)),
    }
}

#[cfg(feature = "python")]
pub use python::{extract, host, tuple};

#[cfg(feature = "python")]
mod python {
    use super::{parse_ip, socket_address};
    use pyo3::exceptions::PyValueError;
    use pyo3::prelude::*;
    use pyo3::types::{PyString, PyTuple};
    use std::net::{IpAddr, SocketAddr};

    /// Read an address of Python's. Raises ValueError or TypeError.
    pub fn extract(address: &Bound<'_, PyTuple>) -> PyResult<SocketAddr> {
        let scope = if address.len() == 4 {
            address.get_item(3)?.extract()?
        } else {
            0
        };
        let ip = host(address.get_item(0)?.cast::<PyString>()?)?;
        Ok(socket_address(ip, address.get_item(1)?.extract()?, scope))
    }

    /// Read an IP address of Python's. Raises ValueError.
    pub fn host(text: &Bound<'_, PyString>) -> PyResult<IpAddr> {
        let text = text.to_str()?;
        parse_ip(text).map_err(|_| PyValueError::new_err(format!("{text:?} is not an IP address")))
    }

    /// Write an address as Python has it.
    pub fn tuple<'py>(py: Python<'py>, address: SocketAddr) -> PyResult<Bound<'py, PyTuple>> {
        let host = address.ip().to_string();
        match address {
            SocketAddr::V4(_) => (host, address.port()).into_pyobject(py),
            SocketAddr::V6(v6) => (host, v6.port(), 0, v6.scope_id()).into_pyobject(py),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_dropped_and_scopes_kept() {
        let ip = parse_ip("fe80::1%eth0").unwrap();
        assert_eq!(socket_address(ip, 4001, 3).to_string(), "[fe80::1%3]:4001");
    }

    #[test]
    fn names_are_no_addresses() {
        assert!(parse_ip("localhost").is_err());
        assert!(parse_ip("").is_err());
        assert!(parse_ip("1.2.3.4:5").is_err());
    }
}
