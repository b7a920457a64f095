//! Machine code that may be run, and the only unsafe function of the workspace, which loads it.

use wasmtime::Engine;
use wasmtime::component::Component;

/// A compiled component that this very program compiled, in memory of our own.
pub(crate) struct Code(Vec<u8>);

impl Code {
    /// Whoever calls this vouches that the bytes are what [`Engine::precompile_component`] gave to this program, or to
    /// another process of this user that runs this program. There are two who do: the [compiler](crate::compiler) and
    /// the [cache](crate::cache); each says why it may.
    pub(crate) fn vouched_for(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// What the cache keeps.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Makes it ready to run.
    ///
    /// # Errors
    /// It was made by another version of wasmtime or for other settings, or does not fit the engine's pool.
    #[expect(unsafe_code, reason = "loading compiled code is unsafe by nature; the argument stands in the function")]
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: the bytes must be what `Engine::precompile_component` of this wasmtime gave, for a compatible engine.
        // A `Code` comes from one of two places:
        // - From the compiler, in this process or in a child. The child executes the file that the embedding names, for
        //   the daemon the very file that it runs itself, as the same user, and its answer comes through a pipe whose
        //   other end nobody but the child ever had. What it compiles is hostile, what it answers is as good as our
        //   compiler is, there as here: the child bounds time and memory, and is no defence against a compiler
        //   that makes wrong code.
        // - From the cache, by `Cache::read` alone, after the keyed hash over file name and bytes held. The key is 32
        //   random bytes in a file of mode 0600, in a directory of mode 0700 whose owner is this user and above which
        //   nobody but this user and root can rename anything. So whoever could forge a file could as well replace the
        //   daemon's own executable. `Cache::write` is what computes such hashes, over the bytes of a `Code`. The file's
        //   name, which the hash covers, is a hash of the engine's compatibility hash, in which wasmtime's version, its
        //   compiler settings and the features of this processor are.
        // In both cases wasmtime checks version, settings and features again, and the bytes are in memory of our own:
        // nobody can change them between the check and here.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}
