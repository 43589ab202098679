// What ThreadSanitizer is not to report in programs that use Gloo: it reads the function where it is there, and nobody
// else does.

/// libgloo is not instrumented: the reference count that keeps a buffer alive while Gloo's thread uses it is invisible,
/// so that its destruction looks like a race. Memory that Gloo reads and writes for us is watched all the same.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {  // NOLINT: the sanitizer's name
  return "race:gloo::transport::tcp::UnboundBuffer\n";
}
