// Package tests tests the chart beside it with Helm's own library. It is a
// module of its own because that library weighs more than the program; the test
// in the directory above runs it, so that the main module's tests cover it.
//
// With -update the tests write what they otherwise compare: the chart's schema
// and README, the snapshots, and the manifests for those without Helm.
package tests
