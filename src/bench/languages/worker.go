// One end of a measured pair, by package net. See mod.rs for the arguments, and ../worker/mod.rs for what it says.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// CLOCK_MONOTONIC in nanoseconds.
func now() int64 {
	var time syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&time)), 0)
	return time.Nano()
}

func check(err error) {
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
}

func connected(role, address string) net.Conn {
	if role == "client" {
		connection, err := net.Dial("tcp", address)
		check(err)
		return connection
	}
	listener, err := net.Listen("tcp", address)
	check(err)
	fmt.Println("ready", listener.Addr().(*net.TCPAddr).Port)
	connection, err := listener.Accept()
	check(err)
	return connection
}

func main() {
	role, address := os.Args[1], net.JoinHostPort(os.Args[2], os.Args[3])
	size, err := strconv.Atoi(os.Args[4])
	check(err)
	connection := connected(role, address)
	fmt.Println("ready 0")
	message, received := bytes.Repeat([]byte{0x5a}, size), make([]byte, size)
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		line := strings.TrimSpace(input.Text())
		if line == "end" {
			break
		}
		operations, err := strconv.Atoi(line)
		check(err)
		start := now()
		for ; operations > 0; operations-- {
			if role == "client" {
				_, err = connection.Write(message)
				check(err)
			}
			_, err = io.ReadFull(connection, received)
			check(err)
			if role == "server" {
				_, err = connection.Write(received)
				check(err)
			}
		}
		fmt.Println("ran", start, now(), 0)
	}
	fmt.Println("bye 0 0")
}
