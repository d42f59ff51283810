// Package interop holds tests with programs that nobody here wrote, at both ends
// of the connector. Senders in Go, Python and JavaScript feed the simulator, three
// of them end-to-end encrypted, each by an encrypter of its own. The CloudEvents
// SDKs for Go, Python and JavaScript read the events from both buses in both
// content modes, by their own detection of the mode.
//
// It is a module of its own, so that nobody who uses the connector gets these
// programs with it. INTEROP_PYTHON names an interpreter with the packages of
// testdata/requirements.txt, INTEROP_NODE a directory with those of
// testdata/package.json. Without them the tests are skipped, unless
// INTEROP_REQUIRED=1.
package interop
