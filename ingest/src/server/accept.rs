//! Taking connections: at most so many at once, and without spinning when the system has no more
//! file handles to give.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// Wait after an accept that failed for a reason that does not go away at once.
const PAUSE: Duration = Duration::from_millis(200);

/// The connections of `listener`, of which at most `limit` are open at once, and the future that
/// accepts them. It ends with `stop`, which closes the listener.
pub(super) fn connections(
    listener: TcpListener,
    limit: usize,
    stop: impl Future<Output = ()>,
) -> (ReceiverStream<io::Result<Connection>>, impl Future<Output = ()>) {
    let (sender, receiver) = mpsc::channel(1);
    let accepting = async move {
        tokio::select! {
            () = stop => {}
            () = accept(&listener, Arc::new(Semaphore::new(limit)), sender) => {}
        }
    };
    (ReceiverStream::new(receiver), accepting)
}

async fn accept(listener: &TcpListener, places: Arc<Semaphore>, sender: mpsc::Sender<io::Result<Connection>>) {
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let stream = loop {
            match listener.accept().await {
                Ok((stream, _)) => break stream,
                Err(error) => {
                    tracing::warn!(%error, "connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        // Answers are small; a failure here means that the peer has gone, which reading will tell.
        let _ = stream.set_nodelay(true);
        if sender.send(Ok(Connection { stream, _place: place })).await.is_err() {
            return;
        }
    }
}

/// An accepted connection, which gives its place back when it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_connection_over_the_limit_waits_for_a_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port 0 is always free");
        let address = listener.local_addr().expect("is bound");
        let (mut incoming, accepting) = connections(listener, 1, std::future::pending());
        let accepting = tokio::spawn(accepting);
        let _clients = [TcpStream::connect(address).await, TcpStream::connect(address).await];
        let first = incoming.next().await.expect("goes on").expect("is accepted");
        let many_turns = async {
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            second = incoming.next() => unreachable!("the one place is taken, but {second:?} came in"),
            () = many_turns => {}
        }
        drop(first);
        assert!(incoming.next().await.expect("goes on").is_ok());
        accepting.abort();
    }
}
