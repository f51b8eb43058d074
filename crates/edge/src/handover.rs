//! Listening sockets go from an old process to its successor, so that nothing is lost in between.
//!
//! Sockets that share a port have a queue each: closing one resets the connections that wait in it, and
//! those whose handshake isn't finished. A socket that both processes hold isn't closed by either of them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use tokio::net::UnixListener;

use crate::shared::Shared;

/// What the kernel lets through in one message.
const SOCKETS_LIMIT: usize = 253;
const DEADLINE: Duration = Duration::from_secs(2);

/// Returns where a process with this control socket hands its sockets over.
pub(crate) fn path_beside(control: &Path) -> PathBuf {
    control.with_added_extension("handover")
}

/// What a process that is being replaced gave.
#[derive(Debug)]
pub(crate) enum Predecessor {
    /// There is none.
    None,
    /// It runs; these are its sockets, if it handed them over.
    Running(Vec<TcpListener>),
}

/// Asks a process that is running for its listening sockets.
pub(crate) fn inherit(path: &Path) -> Predecessor {
    let Ok(stream) = UnixStream::connect(path) else { return Predecessor::None };
    Predecessor::Running(receive(&stream).unwrap_or_else(|error| {
        tracing::warn!(%error, "the running edge didn't hand its sockets over; new ones are opened beside them");
        Vec::new()
    }))
}

impl Predecessor {
    /// Takes out the sockets that listen on the address.
    pub(crate) fn take(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        match self {
            Self::None => Vec::new(),
            Self::Running(sockets) => {
                let is_here = |socket: &mut TcpListener| socket.local_addr().is_ok_and(|at| at == address);
                sockets.extract_if(.., is_here).collect()
            }
        }
    }
}

fn receive(stream: &UnixStream) -> io::Result<Vec<TcpListener>> {
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_LIMIT))];
    let mut sockets = Vec::new();
    loop {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut bytes = [IoSliceMut::new(&mut byte)];
        let received = rustix::net::recvmsg(stream, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                sockets.extend(files.map(|file: OwnedFd| TcpListener::from(file)));
            }
        }
        if received.bytes == 0 {
            return Ok(sockets);
        }
    }
}

fn send(stream: &UnixStream, sockets: &[TcpListener]) -> io::Result<()> {
    stream.set_write_timeout(Some(DEADLINE))?;
    // A successor of the version before reads the first message alone; the sockets for requests are in it.
    for some in sockets.chunks(SOCKETS_LIMIT) {
        let files: Vec<BorrowedFd<'_>> = some.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_LIMIT))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        rustix::net::sendmsg(stream, &[IoSlice::new(&[1])], &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Hands the sockets to whoever asks, those of TCP ports last, until the process stops.
pub(crate) async fn serve(listener: UnixListener, sockets: Arc<[TcpListener]>, shared: Arc<Shared>) {
    let stop = &shared.stop;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok(stream) = accepted.and_then(|(stream, _)| stream.into_std()) else { continue };
        let (sockets, shared) = (Arc::clone(&sockets), Arc::clone(&shared));
        let sent = tokio::task::spawn_blocking(move || {
            stream.set_nonblocking(false)?;
            let all: io::Result<Vec<_>> = sockets.iter().map(TcpListener::try_clone).collect();
            let mut all = all?;
            all.extend(shared.ports.sockets());
            send(&stream, &all)
        });
        match sent.await {
            Ok(Ok(())) => tracing::info!("handed the listening sockets to another process"),
            Ok(Err(error)) => tracing::warn!(%error, "failed to hand the listening sockets over"),
            Err(_) => {}
        }
    }
}
