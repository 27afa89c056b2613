//! The verbs of what is in front of a pool, written once.

/// The inherent verbs of a type that is [`Starts`](super::Starts). `$setup` is the code that makes `calls`, which accepts closures.
macro_rules! verbs {
    ([$($generics:tt)*] $type:ty, $setup:literal, errors: $errors:literal) => {
        /// The verbs: as those of a pool.
        impl<$($generics)*> $type {
            /// Submits a task; its result is dropped. Blocks while the pool is full.
            ///
            /// ```
            #[doc = $setup]
            /// calls.submit(|| Ok::<_, String>(()))?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            #[doc = $errors]
            pub fn submit<X>(&self, x: X) -> Result<(), SubmitError<X>>
            where
                Self: Starts<X>,
                X: Send + 'static,
            {
                self.start(x).map(drop)
            }

            /// As [`submit`](Self::submit), but never blocks.
            ///
            /// ```
            #[doc = $setup]
            /// calls.try_submit(|| Ok::<_, String>(()))?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// As `submit`; of kind `Full` if there is no room.
            pub fn try_submit<X>(&self, x: X) -> Result<(), SubmitError<X>>
            where
                Self: Starts<X>,
                X: Send + 'static,
            {
                self.start_for(x, false).map(drop)
            }

            /// As [`submit`](Self::submit), but waits for room as a future. Dropping the future drops the task.
            ///
            /// ```
            /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
            #[doc = $setup]
            /// calls.submit_async(|| Ok::<_, String>(())).await?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// # })?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// As `submit`.
            pub async fn submit_async<X>(&self, x: X) -> Result<(), SubmitError<X>>
            where
                Self: Starts<X>,
                X: Send + 'static,
            {
                self.start_async(x).await.map(drop)
            }

            /// Submits a task and returns a [`Handle`] to its result. Blocks while the pool is full.
            ///
            /// ```
            #[doc = $setup]
            /// assert!(calls.spawn(|| Ok::<_, String>(7))?.join()?.is_ok_and(|n| n == 7));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// As [`submit`](Self::submit).
            pub fn spawn<X>(&self, x: X) -> Result<Handle<<Self as Starts<X>>::Output>, SubmitError<X>>
            where
                Self: Starts<X>,
                X: Send + 'static,
            {
                self.start(x)
            }

            /// As [`spawn`](Self::spawn), but never blocks.
            ///
            /// ```
            #[doc = $setup]
            /// assert!(calls.try_spawn(|| Ok::<_, String>(7))?.join()?.is_ok_and(|n| n == 7));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// As [`try_submit`](Self::try_submit).
            pub fn try_spawn<X>(&self, x: X) -> Result<Handle<<Self as Starts<X>>::Output>, SubmitError<X>>
            where
                Self: Starts<X>,
                X: Send + 'static,
            {
                self.start_for(x, false)
            }

            /// As [`spawn`](Self::spawn), but waits for room as a future. Dropping the future drops the task.
            ///
            /// ```
            /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
            #[doc = $setup]
            /// assert!(calls.spawn_async(|| Ok::<_, String>(7)).await?.await?.is_ok_and(|n| n == 7));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// # })?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// As [`submit`](Self::submit).
            pub async fn spawn_async<X>(&self, x: X) -> Result<Handle<<Self as Starts<X>>::Output>, SubmitError<X>>
            where
                Self: Starts<X>,
                X: Send + 'static,
            {
                self.start_async(x).await
            }

            /// Submits a task and blocks until its result is there.
            ///
            /// ```
            #[doc = $setup]
            /// assert!(calls.run(|| Ok::<_, String>(7))?.is_ok_and(|n| n == 7));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// [`CallError`]: refused, with the task, as by [`submit`](Self::submit); or failed, as the handle of [`spawn`](Self::spawn) says.
            pub fn run<X>(&self, x: X) -> Result<<Self as Starts<X>>::Output, CallError<X>>
            where
                Self: Starts<X>,
                X: Send + 'static,
            {
                starts::run(self, x, true)
            }

            /// As [`run`](Self::run), but does not wait for room. It waits for the result.
            ///
            /// ```
            #[doc = $setup]
            /// assert!(calls.try_run(|| Ok::<_, String>(7))?.is_ok_and(|n| n == 7));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// As `run`; refused with kind `Full` if there is no room.
            pub fn try_run<X>(&self, x: X) -> Result<<Self as Starts<X>>::Output, CallError<X>>
            where
                Self: Starts<X>,
                X: Send + 'static,
            {
                starts::run(self, x, false)
            }

            /// As [`run`](Self::run), but waits as a future, for room and then for the result. Dropping the future drops the task if it had no
            /// room yet, and lets it go on otherwise.
            ///
            /// ```
            /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
            #[doc = $setup]
            /// assert!(calls.run_async(|| Ok::<_, String>(7)).await?.is_ok_and(|n| n == 7));
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// # })?;
            /// # Ok::<(), Box<dyn std::error::Error>>(())
            /// ```
            ///
            /// # Errors
            /// As `run`.
            pub async fn run_async<X>(&self, x: X) -> Result<<Self as Starts<X>>::Output, CallError<X>>
            where
                Self: Starts<X>,
                X: Send + 'static,
            {
                starts::run_async(self, x).await
            }
        }
    };
}

pub(super) use verbs;
