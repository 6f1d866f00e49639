//! When to stop: SIGTERM, SIGINT (Ctrl-C), or the end of standard input.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

/// Tells whether, and how often, the process was asked to stop.
#[derive(Clone, Debug)]
pub(crate) struct StopSignal {
    times: watch::Receiver<u32>,
}

impl StopSignal {
    /// Listens from now on. To be called in a tokio runtime. With `stdin` the end of standard
    /// input asks to stop, too: so a process does not outlive the one that started it.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub(crate) fn listen(stdin: bool) -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut stdin_end = stdin.then(watch_stdin).transpose()?;
        let (sender, times) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    () = ended(&mut stdin_end) => {}
                }
                sender.send_modify(|times| *times += 1);
            }
        });
        Ok(Self { times })
    }

    /// Returns once the process was asked to stop.
    pub(crate) async fn asked(&self) {
        self.asked_times(1).await;
    }

    /// Returns once the process was asked again: it takes too long.
    pub(crate) async fn asked_again(&self) {
        self.asked_times(2).await;
    }

    async fn asked_times(&self, least: u32) {
        let mut times = self.times.clone();
        if times.wait_for(|times| *times >= least).await.is_err() {
            // The runtime is on its end.
            std::future::pending::<()>().await;
        }
    }
}

fn watch_stdin() -> io::Result<oneshot::Receiver<()>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name("stdin".into()).spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = sender.send(());
    })?;
    Ok(receiver)
}

/// Returns when standard input has ended; once.
async fn ended(stdin: &mut Option<oneshot::Receiver<()>>) {
    match stdin {
        Some(receiver) => {
            let _ = receiver.await;
            *stdin = None;
        }
        None => std::future::pending().await,
    }
}
