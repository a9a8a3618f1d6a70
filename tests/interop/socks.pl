# BIND and UDP ASSOCIATE as Perl's IO::Socket::Socks has them.
#
#     perl socks.pl bind PROXY-HOST PROXY-PORT HOST PORT
#     perl socks.pl udp  PROXY-HOST PROXY-PORT HOST PORT TEXT...
#
# Says what happens, a line for each event.
use strict;
use warnings;
use IO::Socket::Socks;
use Socket;

$| = 1;
alarm 25;    # it gives up by itself: whoever waits for a line then sees the end

my ($command, $proxy_host, $proxy_port, $host, $port, @texts) = @ARGV;
my @proxy = (ProxyAddr => $proxy_host, ProxyPort => $proxy_port);

if ($command eq 'bind') {
    my $socket = IO::Socket::Socks->new(@proxy, BindAddr => $host, BindPort => $port)
        or die "$SOCKS_ERROR\n";
    my ($bound_host, $bound_port) = $socket->dst();
    print "bound $bound_host $bound_port\n";
    $socket->accept() or die "$SOCKS_ERROR\n";
    my ($peer_host, $peer_port) = $socket->dst();
    print "peer $peer_host $peer_port\n";
    print {$socket} 'hello';
    shutdown $socket, 1;
    local $/ = undef;
    my $heard = <$socket>;
    print "heard $heard\n";
}
else {
    my $socket = IO::Socket::Socks->new(@proxy, UdpAddr => '0.0.0.0', UdpPort => 0)
        or die "$SOCKS_ERROR\n";
    for my $text (@texts) {
        # In brackets the name goes to the proxy, and otherwise an address.
        my $to = $host =~ /^\d/ ? pack_sockaddr_in($port, inet_aton($host)) : [$host, $port];
        $socket->send($text, 0, $to) or die "$SOCKS_ERROR\n";
        $socket->recv(my $heard, 65536);
        print "heard $heard\n";
    }
}
