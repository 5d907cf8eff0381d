package admin

import "time"

// RealContent returns the Content that the daemon passes. A test of package admin_test sets it, because only that package can import
// the daemon.
var RealContent func(state string, refresh func(share string) error, now func() time.Time) Content
