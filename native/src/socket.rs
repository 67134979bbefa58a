//! The system calls of a UDP socket on Linux, on a descriptor that the caller opened, bound and keeps.
//!
//! Batches of datagrams go and come with one call (UDP_SEGMENT, UDP_GRO), with their congestion notification (ECN) and
//! the address they were sent to, from which answers go on sockets bound to all addresses.

use crate::connection::Batch;
use crate::engine::{Engine, Received};
use std::collections::VecDeque;
use std::io;
use std::mem::{MaybeUninit, size_of, size_of_val, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::os::fd::RawFd;
use std::time::Instant;

use crate::addresses::socket_address;

/// Bytes that one call may bring.
const BUFFER: usize = 65_536;
/// Room for the control messages of a call: four of at most 20 bytes each, with their headers.
const CONTROL: usize = 256;
const ECN: u8 = 0b11;

/// A socket of the caller's.
pub struct Socket {
    descriptor: RawFd,
    buffer: Vec<u8>,
    /// Whether the kernel cuts batches into datagrams.
    segments: bool,
    waiting: VecDeque<Batch>,
}

/// What came of moving datagrams.
#[derive(Default)]
pub struct Pumped {
    /// Whether there is more to do at once.
    pub more: bool,
    /// Whether the socket takes nothing more now.
    pub full: bool,
    /// Where datagrams could not be sent, and why (errno).
    pub failures: Vec<(SocketAddr, i32)>,
}

enum Sent {
    Whole,
    Full,
    Failed(i32),
}

/// Memory for control messages, aligned as their headers want it.
#[repr(C)]
union Control {
    bytes: [u8; CONTROL],
    _header: libc::cmsghdr,
}

impl Socket {
    pub fn new(descriptor: RawFd) -> io::Result<Self> {
        let family = family(descriptor)?;
        let options: &[(i32, i32)] = if family == libc::AF_INET6 {
            &[
                (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS),
                (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
            ]
        } else {
            &[
                (libc::IPPROTO_IP, libc::IP_RECVTOS),
                (libc::IPPROTO_IP, libc::IP_PKTINFO),
            ]
        };
        for &(level, name) in options {
            set_option(descriptor, level, name)?;
        }
        // Linux 5.0; without it each call brings one datagram.
        let _ = set_option(descriptor, libc::SOL_UDP, libc::UDP_GRO);
        Ok(Self {
            descriptor,
            buffer: vec![0; BUFFER],
            segments: true,
            waiting: VecDeque::new(),
        })
    }

    /// Receive with up to `reads` calls, drive the engine, and send what it has to send.
    pub fn pump(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        reads: usize,
        limit: usize,
    ) -> io::Result<Pumped> {
        let mut pumped = Pumped::default();
        for read in 1..=reads {
            if !self.receive(engine, now)? {
                break;
            }
            pumped.more = read == reads;
        }
        self.send_all(engine, &mut pumped);
        if !pumped.full {
            pumped.more |= engine.drive(now, limit);
            self.send_all(engine, &mut pumped);
        }
        Ok(pumped)
    }

    /// Receive with one call; false if nothing is there.
    fn receive(&mut self, engine: &mut Engine, now: Instant) -> io::Result<bool> {
        let mut from = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        let mut control = Control {
            bytes: [0; CONTROL],
        };
        let mut piece = libc::iovec {
            iov_base: self.buffer.as_mut_ptr().cast(),
            iov_len: self.buffer.len(),
        };
        // SAFETY: all zeros is a valid header; its pointers are to memory that lives as long as the call.
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_name = from.as_mut_ptr().cast();
        header.msg_namelen = size_of_val(&from) as libc::socklen_t;
        header.msg_iov = &raw mut piece;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut control).cast();
        header.msg_controllen = CONTROL as _;
        // SAFETY: see above.
        let size = unsafe { libc::recvmsg(self.descriptor, &raw mut header, libc::MSG_DONTWAIT) };
        let Ok(size) = usize::try_from(size) else {
            return nothing_or_failure(io::Error::last_os_error());
        };
        // SAFETY: the kernel has written an address, or nothing over the zeros.
        let Some(remote) = read_address(unsafe { from.assume_init_ref() }) else {
            return Ok(true);
        };
        let mut received = Received {
            remote,
            local: None,
            ecn: 0,
            data: &self.buffer[..size],
            segment: 0,
        };
        // SAFETY: the header is as the kernel left it.
        unsafe { read_control(&header, &mut received) };
        engine.receive(&received, now);
        Ok(true)
    }

    fn send_all(&mut self, engine: &mut Engine, pumped: &mut Pumped) {
        self.waiting.extend(engine.out.batches.drain(..));
        while let Some(batch) = self.waiting.pop_front() {
            match self.send(&batch) {
                Sent::Whole => {}
                Sent::Failed(number) => pumped.failures.push((batch.remote, number)),
                Sent::Full => {
                    self.waiting.push_front(batch);
                    pumped.full = true;
                    return;
                }
            }
            engine.out.recycle(batch.data);
        }
    }

    fn send(&mut self, batch: &Batch) -> Sent {
        if self.segments || batch.datagrams() == 1 {
            match self.send_once(batch, &batch.data) {
                // A network card that computes no checksums cannot cut batches.
                Sent::Failed(libc::EIO | libc::EINVAL) if batch.datagrams() > 1 => {
                    self.segments = false;
                }
                sent => return sent,
            }
        }
        for datagram in batch.data.chunks(batch.segment) {
            match self.send_once(batch, datagram) {
                Sent::Whole => {}
                // What was sent already is sent again; receivers know duplicates.
                sent => return sent,
            }
        }
        Sent::Whole
    }

    fn send_once(&self, batch: &Batch, data: &[u8]) -> Sent {
        let (mut to, size) = write_address(batch.remote);
        let mut control = Control {
            bytes: [0; CONTROL],
        };
        let mut piece = libc::iovec {
            iov_base: data.as_ptr().cast_mut().cast(),
            iov_len: data.len(),
        };
        // SAFETY: as in `receive`; sending writes nothing into the data.
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_name = (&raw mut to).cast();
        header.msg_namelen = size;
        header.msg_iov = &raw mut piece;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut control).cast();
        header.msg_controllen = CONTROL as _;
        // SAFETY: the header's control buffer is zeroed and large enough for all messages there are.
        unsafe { write_control(&mut header, batch, data.len()) };
        let mut tries = 2; // ECONNREFUSED is the fate of an earlier datagram, and told once
        loop {
            // SAFETY: see above.
            if unsafe { libc::sendmsg(self.descriptor, &raw const header, libc::MSG_DONTWAIT) } >= 0
            {
                return Sent::Whole;
            }
            tries -= 1;
            match io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EIO)
            {
                libc::EAGAIN | libc::ENOBUFS => return Sent::Full,
                libc::EINTR => tries += 1,
                libc::ECONNREFUSED if tries > 0 => {}
                number => return Sent::Failed(number),
            }
        }
    }
}

/// Tell an empty socket, and errors that are the fate of earlier datagrams, from a socket that is broken.
fn nothing_or_failure(error: io::Error) -> io::Result<bool> {
    match error.raw_os_error() {
        Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT | libc::ENOMEM) => Err(error),
        _ => Ok(false),
    }
}

fn family(descriptor: RawFd) -> io::Result<i32> {
    let mut address = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut size = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the pointers are to memory of the size that is said.
    let result =
        unsafe { libc::getsockname(descriptor, address.as_mut_ptr().cast(), &raw mut size) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed, and written by the kernel.
    Ok(i32::from(unsafe { address.assume_init_ref() }.ss_family))
}

fn set_option(descriptor: RawFd, level: i32, name: i32) -> io::Result<()> {
    let on: i32 = 1;
    let size = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointer is to an integer that lives as long as the call.
    match unsafe { libc::setsockopt(descriptor, level, name, (&raw const on).cast(), size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn read_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says what it is, and storage is large and aligned enough for any.
            let v4 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(socket_address(ip.into(), port, v6.sin6_scope_id))
        }
        _ => None,
    }
}

fn write_address(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeros is a valid address of no family.
    let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
    let size = match address {
        SocketAddr::V4(address) => {
            // SAFETY: storage is large and aligned enough for any address.
            let v4 = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in>() };
            v4.sin_family = libc::AF_INET as _;
            v4.sin_port = address.port().to_be();
            v4.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            // SAFETY: as above.
            let v6 = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in6>() };
            v6.sin6_family = libc::AF_INET6 as _;
            v6.sin6_port = address.port().to_be();
            v6.sin6_addr.s6_addr = address.ip().octets();
            v6.sin6_scope_id = address.scope_id();
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, size as libc::socklen_t)
}

/// # Safety
/// The header is one that `recvmsg` has filled.
unsafe fn read_control(header: &libc::msghdr, received: &mut Received<'_>) {
    // SAFETY: libc's macros walk what the kernel wrote; payloads may not be aligned.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = message.as_ref() {
            let data = libc::CMSG_DATA(control);
            match (control.cmsg_level, control.cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    received.segment = data.cast::<i32>().read_unaligned().max(0) as usize;
                }
                (libc::IPPROTO_IP, libc::IP_TOS) => received.ecn = *data & ECN,
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    received.ecn = data.cast::<i32>().read_unaligned() as u8 & ECN;
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    let ip = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                    received.local = Some(IpAddr::V4(ip));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    received.local = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, control);
        }
    }
}

/// # Safety
/// The header's control buffer is `CONTROL` zeroed bytes.
unsafe fn write_control(header: &mut libc::msghdr, batch: &Batch, size: usize) {
    let mut used = 0;
    // SAFETY: as the caller promises, and no message has more than 20 bytes.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        if size > batch.segment {
            put(
                &mut message,
                header,
                &mut used,
                libc::SOL_UDP,
                libc::UDP_SEGMENT,
                batch.segment as u16,
            );
        }
        if batch.ecn != 0 {
            let bits = i32::from(batch.ecn);
            let (level, kind) = match batch.remote {
                SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
                SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
            };
            put(&mut message, header, &mut used, level, kind, bits);
        }
        match batch.local {
            Some(IpAddr::V4(ip)) => {
                let mut info: libc::in_pktinfo = zeroed();
                info.ipi_spec_dst.s_addr = u32::from(ip).to_be();
                put(
                    &mut message,
                    header,
                    &mut used,
                    libc::IPPROTO_IP,
                    libc::IP_PKTINFO,
                    info,
                );
            }
            Some(IpAddr::V6(ip)) => {
                let mut info: libc::in6_pktinfo = zeroed();
                info.ipi6_addr.s6_addr = ip.octets();
                put(
                    &mut message,
                    header,
                    &mut used,
                    libc::IPPROTO_IPV6,
                    libc::IPV6_PKTINFO,
                    info,
                );
            }
            None => {}
        }
    }
    header.msg_controllen = used as _;
    if used == 0 {
        header.msg_control = std::ptr::null_mut();
    }
}

/// # Safety
/// `message` is a place in the header's control buffer with room for the value.
unsafe fn put<T: Copy>(
    message: &mut *mut libc::cmsghdr,
    header: &libc::msghdr,
    used: &mut usize,
    level: i32,
    kind: i32,
    value: T,
) {
    let size = size_of::<T>() as u32;
    // SAFETY: as the caller promises.
    unsafe {
        let Some(control) = message.as_mut() else {
            return;
        };
        control.cmsg_level = level;
        control.cmsg_type = kind;
        control.cmsg_len = libc::CMSG_LEN(size) as _;
        libc::CMSG_DATA(control).cast::<T>().write_unaligned(value);
        *used += libc::CMSG_SPACE(size) as usize;
        *message = libc::CMSG_NXTHDR(header, control);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::engine;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    fn pair(host: &str) -> (UdpSocket, UdpSocket) {
        let [one, other] = [(); 2].map(|()| UdpSocket::bind((host, 0)).unwrap());
        (one, other)
    }

    fn batch(to: &UdpSocket, local: Option<IpAddr>) -> Batch {
        Batch {
            remote: to.local_addr().unwrap(),
            local,
            segment: 100,
            ecn: 2,
            data: (0..250).collect(),
        }
    }

    fn batch_arrives(host: &str, segments: bool, local: Option<IpAddr>) {
        let (one, other) = pair(host);
        let mut socket = Socket::new(one.as_raw_fd()).unwrap();
        socket.segments = segments;
        assert!(matches!(socket.send(&batch(&other, local)), Sent::Whole));
        let mut sizes = vec![];
        for _ in 0..3 {
            let mut buffer = [0; 1000];
            sizes.push(other.recv(&mut buffer).unwrap());
        }
        assert_eq!(sizes, [100, 100, 50]);
    }

    #[test]
    fn batches_are_cut_by_the_kernel_or_by_us() {
        for segments in [true, false] {
            batch_arrives("127.0.0.1", segments, None);
            batch_arrives("127.0.0.1", segments, Some([127, 0, 0, 1].into()));
        }
    }

    #[test]
    fn batches_go_over_ipv6() {
        if UdpSocket::bind(("::1", 0)).is_ok() {
            batch_arrives("::1", true, Some(Ipv6Addr::LOCALHOST.into()));
        }
    }

    #[test]
    fn an_empty_socket_brings_nothing() {
        let (one, _) = pair("127.0.0.1");
        let (mut socket, mut engine) = (Socket::new(one.as_raw_fd()).unwrap(), engine());
        let now = engine.clock.latest();
        let pumped = socket.pump(&mut engine, now, 4, 64).unwrap();
        assert!(!pumped.more && !pumped.full && pumped.failures.is_empty());
    }

    #[test]
    fn what_is_no_socket_is_told() {
        assert!(Socket::new(-1).is_err());
    }

    #[test]
    fn addresses_survive() {
        for text in ["1.2.3.4:5", "[2001:db8::1]:4001", "[fe80::1%7]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(read_address(&write_address(address).0), Some(address));
        }
    }
}
