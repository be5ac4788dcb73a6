//! A panic of any task is a broken promise. Tokio catches them; the hook sees them first.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    /// The first panic on this thread, if it is watched.
    static SEEN: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// Watches this thread from now on.
pub(super) fn begin() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            SEEN.with_borrow_mut(|seen| {
                if let Some(seen) = seen {
                    seen.get_or_insert_with(|| panic.to_string());
                }
            });
            before(panic);
        }));
    });
    SEEN.set(Some(None));
}

/// What was seen on this thread.
pub(super) fn seen() -> Option<String> {
    SEEN.with_borrow(|seen| seen.clone().flatten())
}
