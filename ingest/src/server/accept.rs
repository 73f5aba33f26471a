//! Taking connections: at most so many at once, and without spinning when the system has no more
//! file handles to give.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use super::connection::{self, Door, Serves};

/// Wait after an accept that failed for a reason that does not go away at once.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves the connections of `listener`, of which at most `door.limits.max` are open at once, until
/// `stopped`; then closes the listener and waits until all have ended.
pub(super) async fn serve<S: Serves>(listener: TcpListener, door: Door<S>, mut stopped: watch::Receiver<bool>) {
    let limit = u32::try_from(door.limits.max).unwrap_or(u32::MAX).max(1);
    let places = Arc::new(Semaphore::new(limit as usize));
    let stop = stopped.clone();
    tokio::select! {
        () = accept(&listener, &places, &door, &stop) => {}
        // An error means that the one who could stop us is gone, which is a stop as well.
        _ = stopped.wait_for(|is_stopped| *is_stopped) => {}
    }
    drop(listener);
    // The places come back as the connections end.
    let _ = places.acquire_many(limit).await;
}

async fn accept<S: Serves>(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    door: &Door<S>,
    stopped: &watch::Receiver<bool>,
) {
    loop {
        let Ok(place) = door.pulse.while_waiting(door.transport, Arc::clone(places).acquire_owned()).await else {
            return;
        };
        let (stream, peer) = next(listener, door).await;
        // Answers are small; a failure here means that the peer has gone, which reading will tell.
        let _ = stream.set_nodelay(true);
        let (door, stopped) = (door.clone(), stopped.clone());
        tokio::spawn(async move {
            connection::serve(stream, peer.ip(), door, stopped).await;
            drop(place);
        });
    }
}

async fn next<S>(listener: &TcpListener, door: &Door<S>) -> (TcpStream, SocketAddr) {
    loop {
        match door.pulse.while_waiting(door.transport, listener.accept()).await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
