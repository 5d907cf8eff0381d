// Package hw is the box's local hardware: its status light, its button, its temperature and power sensors, and the boards that
// have them. It owns the light pattern of each State, the button's gestures, the table of boards, and the sensors. It uses
// periph for pins. It must not know what a gesture does, nor how packets are forwarded: it gets a State and reports gestures.
//
// One goroutine, [Panel.Run], drives the light and reads the button. On a board with neither there is nothing to run.
package hw
