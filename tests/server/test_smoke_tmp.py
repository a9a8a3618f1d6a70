from tests.server.associations import *
class T(AssociationCase):
    def test_it(self):
        t=self.mailbox(TARGET,53)
        self.associate()
        print(self.bound)
        self.send(b"hello")
        print(t.received)
        t.send(b"answer", t.received[0][1]); self.reactor.advance(0)
        print(self.client.received, self.drops())
        self.control.lose(); self.reactor.advance(0)
        print(self.records)
