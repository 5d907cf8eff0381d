package admin

import "time"

// RealContent returns the shares' content as the daemon passes it. It is set by a test of package admin_test, which may import
// the daemon.
var RealContent func(state string, refresh func(share string) error, now func() time.Time) Content
