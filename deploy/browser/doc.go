// Package browser holds the tests of the status page in a real browser. They are
// a module of their own, so that nobody who uses the connector gets the driver of
// the browser with it.
//
// They need Chromium: the command chromium in the path, or CHROMIUM. Without it
// they are skipped, unless BROWSER_REQUIRED=1. SCREENSHOTS names a directory for
// a picture of each state.
package browser
