import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.opensearch.common.settings.Settings;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

/**
 * One real node of OpenSearch in this process. Arguments: its folder, and the HTTP port on the loopback. Says "ready" when it answers,
 * and ends with its standard input.
 */
public class Server {
  static final class EmbeddedNode extends Node {
    EmbeddedNode(Settings settings) {
      super(
        InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), null, () -> "freshet"),
        List.of(Netty4Plugin.class),
        false
      );
    }
  }

  public static void main(String[] args) throws Exception {
    Settings settings = Settings.builder()
      .put("path.home", Path.of(args[0]).toAbsolutePath().toString())
      .put("cluster.name", "freshet")
      .put("network.host", "127.0.0.1")
      .put("http.port", args[1])
      .put("transport.port", "0")
      .put("discovery.type", "single-node")
      .put("cluster.routing.allocation.disk.threshold_enabled", false)
      .put("http.type", "netty4")
      .put("transport.type", "netty4")
      .build();
    try (Node node = new EmbeddedNode(settings)) {
      node.start();
      System.out.println("ready");
      while (System.in.read() >= 0) {
        // Whoever started it is still there.
      }
    }
  }
}
