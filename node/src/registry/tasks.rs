//! What a node does for the registry beside answering requests.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::app::App;
use crate::registry::sign_in::directory;
use crate::registry::storage::recount;
use crate::registry::{audit, cleanup, ending, purge, trash, usage};

/// How long a node waits after it could not write what was used: it may have much to write.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How often a node looks for deleted things that another one left behind.
const PURGE_EVERY: Duration = Duration::from_secs(60);

/// How often a node looks for cleanup policies that are due.
const CLEANUP_EVERY: Duration = Duration::from_secs(60);

/// How often a node looks for what has ended.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// How often a node looks for what is to be counted anew.
const RECOUNT_EVERY: Duration = Duration::from_secs(60);

/// How often a node looks whether it is time to look through the directory that people sign in by.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Runs until `stop`: writes when tokens and packages were last used and who was refused, takes apart
/// what was deleted, gives cleanup policies their turns, looks through the directory that people sign in
/// by, forgets what has ended, takes apart what cannot be restored any more, and counts anew what is stored
/// where that was not counted yet. Each goes on after a failure, at its next time; nothing depends on any
/// being prompt.
pub async fn run(app: App, stop: CancellationToken) {
    tokio::join!(
        write_usage(&app, &stop),
        tell_denials(&app, &stop),
        take_apart(&app, &stop),
        clean_up(&app, &stop),
        look_through_directory(&app, &stop),
        forget(&app, &stop),
        recount(&app, &stop),
        empty_trash(&app, &stop)
    );
}

async fn clean_up(app: &App, stop: &CancellationToken) {
    loop {
        let due = tokio::time::sleep(CLEANUP_EVERY);
        if stop.run_until_cancelled(due).await.is_none() {
            return;
        }
        // A turn that is cut off here is taken up by the next node that looks when it has run out.
        if let Some(Err(error)) = stop.run_until_cancelled(Box::pin(cleanup::run(app))).await {
            warn!(error = ?error, "could not look for cleanup policies that are due; trying again later");
        }
    }
}

async fn empty_trash(app: &App, stop: &CancellationToken) {
    let round = async || {
        tokio::time::sleep(PURGE_EVERY).await;
        trash::run(app.store()).await
    };
    // What is cut off was not done; it stays in the list.
    while let Some(done) = stop.run_until_cancelled(round()).await {
        if let Err(error) = done {
            warn!(error = ?error, "could not take apart what cannot be restored any more; trying again later");
        }
    }
}

async fn recount(app: &App, stop: &CancellationToken) {
    let round = async || {
        tokio::time::sleep(RECOUNT_EVERY).await;
        recount::run(app.store()).await
    };
    // What is cut off goes on with the project that it was at, on any node.
    while let Some(done) = stop.run_until_cancelled(round()).await {
        if let Err(error) = done {
            warn!(error = ?error, "could not count anew what is stored; trying again later");
        }
    }
}

async fn look_through_directory(app: &App, stop: &CancellationToken) {
    let round = async || {
        tokio::time::sleep(LOOK_EVERY).await;
        directory::look(app).await
    };
    // A round that is cut off has changed some of the users; the next turn does the others.
    while let Some(looked) = stop.run_until_cancelled(round()).await {
        if let Err(error) = looked {
            warn!(error = ?error, "could not look through the directory; another node tries later");
        }
    }
}

async fn forget(app: &App, stop: &CancellationToken) {
    let round = async || {
        tokio::time::sleep(FORGET_EVERY).await;
        ending::forget_all(app.store()).await
    };
    // A round that is cut off changed nothing, or all of some steps.
    while let Some(done) = stop.run_until_cancelled(round()).await {
        if let Err(error) = done {
            warn!(error = ?error, "could not forget what has ended; trying again later");
        }
    }
}

async fn write_usage(app: &App, stop: &CancellationToken) {
    let store = app.store();
    loop {
        let due = async {
            tokio::select! {
                () = tokio::time::sleep(usage::WRITE_EVERY) => {}
                () = store.usage().has_many() => {}
            }
        };
        let stopping = stop.run_until_cancelled(due).await.is_none();
        if let Err(error) = store.usage().write(store.kv()).await {
            warn!(%error, "could not write what was used and downloaded; trying again later");
            tokio::time::sleep(AFTER_FAILURE).await;
        }
        if stopping {
            return;
        }
    }
}

async fn tell_denials(app: &App, stop: &CancellationToken) {
    let store = app.store();
    loop {
        let wait = tokio::time::sleep(audit::TELL_EVERY);
        let stopping = stop.run_until_cancelled(wait).await.is_none();
        if let Err(error) = app.denials().tell(store.kv(), store.now()).await {
            warn!(%error, "could not tell the audit log who was refused; trying again later");
        }
        if stopping {
            return;
        }
    }
}

async fn take_apart(app: &App, stop: &CancellationToken) {
    let store = app.store();
    loop {
        let due = async {
            tokio::time::timeout(PURGE_EVERY, store.purge_order())
                .await
                .is_ok()
        };
        if stop.run_until_cancelled(due).await.is_none() {
            return;
        }
        // A step that is cut off changed nothing, or all of itself.
        if let Some(Err(error)) = stop.run_until_cancelled(purge::run(store)).await {
            warn!(error = ?error, "could not take apart what was deleted; trying again later");
        }
    }
}
