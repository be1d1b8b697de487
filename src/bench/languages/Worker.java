// One end of a measured pair, by a selector. See mod.rs for the arguments, and ../worker/mod.rs for what it says.

import java.io.BufferedReader;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;

final class Worker {
    private final SocketChannel channel;
    private final Selector selector = Selector.open();
    private final SelectionKey key;

    private Worker(SocketChannel channel) throws IOException {
        this.channel = channel;
        channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
        channel.configureBlocking(false);
        key = channel.register(selector, SelectionKey.OP_READ);
    }

    public static void main(String[] arguments) throws IOException {
        boolean isClient = arguments[0].equals("client");
        InetSocketAddress address = new InetSocketAddress(arguments[1], Integer.parseInt(arguments[2]));
        ByteBuffer message = ByteBuffer.allocateDirect(Integer.parseInt(arguments[3]));
        Worker worker = new Worker(isClient ? SocketChannel.open(address) : accept(address));
        say("ready 0");
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null && !line.equals("end"); line = input.readLine()) {
            // CLOCK_MONOTONIC.
            long start = System.nanoTime();
            for (long operations = Long.parseLong(line); operations > 0; operations--) {
                if (isClient) {
                    worker.write(message);
                    worker.read(message);
                } else {
                    worker.read(message);
                    worker.write(message);
                }
            }
            say("ran " + start + " " + System.nanoTime() + " 0");
        }
        say("bye 0 0");
    }

    private static SocketChannel accept(InetSocketAddress address) throws IOException {
        ServerSocketChannel listener = ServerSocketChannel.open().bind(address);
        say("ready " + ((InetSocketAddress) listener.getLocalAddress()).getPort());
        return listener.accept();
    }

    private void read(ByteBuffer message) throws IOException {
        message.clear();
        while (message.hasRemaining()) {
            selector.select();
            selector.selectedKeys().clear();
            if (channel.read(message) < 0) throw new EOFException();
        }
    }

    private void write(ByteBuffer message) throws IOException {
        message.clear();
        while (message.hasRemaining()) {
            if (channel.write(message) > 0) continue;
            key.interestOps(SelectionKey.OP_WRITE);
            selector.select();
            selector.selectedKeys().clear();
            key.interestOps(SelectionKey.OP_READ);
        }
    }

    private static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
