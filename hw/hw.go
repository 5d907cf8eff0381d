// Package hw is the box's local hardware: its status light, its button, its temperature and power sensors, and the
// boards that have them. It owns the light pattern of each State, the button's gestures, the table of boards, over
// periph's pins, and the sensors. It must not know what a gesture does, nor how packets are forwarded: it gets a State
// and reports gestures.
//
// One goroutine, [Panel.Run], drives the light and reads the button. A board without either is fine: there is then
// nothing to run.
package hw
